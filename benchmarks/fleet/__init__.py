"""A thousand light devices against a real gateway: what it takes in, how long a verdict takes, what that costs.

load.py     what a run is: how many devices, how large their deltas, how they behave
packaged.py a package without a model, whose plans are deltas of the wanted size
bodies.py   deltas that pass admission, and those that do not
client.py   MQTT 3.1.1 for one device: a connection of a few hundred bytes
device.py   one light device: it joins, answers plans, stalls, drops, lies, comes back, fetches blocks
driver.py   all of them in one event loop, phase by phase
gateway.py  the gateway, a process of its own, from this or another checkout
usage.py    memory and processor time of processes, thread by thread
kept.py     what the gateway's state says afterwards: every accepted delta once
page.py     the section of docs/results.md
simulated/  a fleet of any size around the gateway's parts, in simulated time
costs/      unit costs, and what a gateway needs by the number of devices
"""
