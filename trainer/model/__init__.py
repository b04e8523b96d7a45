"""The model, defined here and nowhere else. Shape letters used throughout:

R  requests in a batch        E  candidates (examples) in a batch     D  dimension of every embedding
F_r, F_c  sparse keys of request and candidate        N_r, N_c  dense values of request and candidate
V_r, V_c  vectors that interact: the embeddings of a side, and the bottom output on the side that has it
H  units of a hidden layer    T  tables
"""
