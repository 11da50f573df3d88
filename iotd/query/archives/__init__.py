"""The archives as queries read them."""

from iotd.query.archives.base import Archive, Found
from iotd.query.archives.choose import open_archive

__all__ = ["Archive", "Found", "open_archive"]
