"""Long-term archives: one :class:`~iotd.stores.base.Store` per back end, opened by :mod:`iotd.stores.registry`.

``ADDING.md`` beside this file says how another one is added.
"""
