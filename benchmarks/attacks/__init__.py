"""What liars and strangers do to a federation: accuracy and rounds a minute, undisturbed, undefended and defended.

liar.py       a device of ours that lies: about its examples, its class sums, or with its update turned round
strangers.py  names that nobody knows: they say Hello, promise class sums, hold plans, and never train
federation.py a real gateway with an embedded broker and real devices, each a process of its own
attacks.py    the attacks, one function each
"""
