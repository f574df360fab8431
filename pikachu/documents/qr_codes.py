"""QR codes as images in a page."""

from __future__ import annotations


def qr_code(text: str) -> str:
    """Return a ``data:`` URI of an SVG image of the QR code, with the border that readers need."""
    # Imported late: only the page that sets up a second factor needs it.
    import segno

    uri: str = segno.make(text, error="m", micro=False).svg_data_uri(scale=5, border=4, dark="#000", light="#fff")
    return uri
