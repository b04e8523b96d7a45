"""What others offer for the same task, run by `freshet evaluate` on the same examples as Freshet's own recipes."""
