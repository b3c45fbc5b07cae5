"""Bytes that nobody should send: `make fuzz MINUTES=…` (``python -m fuzz``, with tests/ on PYTHONPATH).

===========  =======================================================================================
module       what
===========  =======================================================================================
`mutations`  strategies: bytes, and sequences of bytes, that were right before something changed them
`values`     datagrams, relay messages, requests and answers of history, configurations: no sockets
`peers`      raw ZMTP, with and without encryption, and HTTP, at programs that run
===========  =======================================================================================

Hypothesis makes the examples, from the seed, and makes one that fails smaller before it is told. What was
found becomes a test of its own where it belongs.
"""
