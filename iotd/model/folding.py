"""Names without what people write differently, so that they can be compared."""

from __future__ import annotations

import unicodedata


def folded(name: str) -> str:
    """A name without accents, case, spaces, hyphens and apostrophes: ``Salle à manger`` is ``salle_a_manger``."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", name.strip()) if not unicodedata.combining(c))
    return "_".join("".join(c if c.isalnum() or c in "°%*" else " " for c in bare.casefold()).split())
