"""What devices and network servers say, over HTTP or MQTT: a pure module for each, from a body to observations.

Each has ``observations(body)``: the body is the JSON object, or the fields of a form and the parameters of the URL, as
text. What it does not know of, it leaves out; what is not its form at all it refuses.
"""
