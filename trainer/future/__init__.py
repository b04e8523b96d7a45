"""Mixing the gradients of the last rounds for the next one.

config.py         what a recipe says of it
round_store.py    the last rounds' examples on disk
summary.py        what a round's examples look like, for the generator
gradients.py      gradients of mini-batches at a remembered theta
gram.py           their inner products, all that the mixing weights are learnt from
mixers.py exponentiated.py generator.py      who says how much each round counts; build.py chooses
paper.py live.py  whole rounds with interleaved lineages; every step of one continual model
"""
