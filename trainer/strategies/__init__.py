"""Update strategies to compare the mixing of rounds with: baselines and controls.

config.py                  what a recipe says of them
teacher.py taught.py       ReLoop, IncCTR: a second loss from the model as it stood a round ago
reservoir.py spmf.py       SPMF: a uniform sample of all that came, replayed where it is scored lowest
modulator.py asmg.py       ASMG: the served model is made of the last checkpoints, weight by weight
hindsight.py               the best fixed mixing weights, known from a first pass over the same data
dated.py                   a learner that knows since when each row has been its id's
build.py                   the one that a recipe asks for
"""
