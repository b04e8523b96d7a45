"""What every package agrees on. Imports nothing of ours, no torch, no Kafka client, no Redis client."""
