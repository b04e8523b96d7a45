"""Mixing the gradients of the last rounds for the next one.

config.py         what a recipe says of it
round_store.py    the last rounds' examples on disk
summary.py        what a round's examples look like, for the generator
theta.py gradients.py      a model as it stood, and gradients of mini-batches at it
gram.py           their inner products, all that the mixing weights are learnt from
mixers.py exponentiated.py generator.py      who says how much each round counts; build.py chooses
ascent.py         how far a negative weight climbs
rounds.py paper.py       whole rounds; those of the mixing, with interleaved lineages
replaying.py live.py     every step of one continual model, with examples of before
"""
