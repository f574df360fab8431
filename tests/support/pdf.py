"""Reads PDF files: their texts, and the QR codes that a scanner finds on their pages."""

from __future__ import annotations

import pypdfium2
import zxingcpp


def page_texts(content: bytes) -> list[str]:
    """Return the text of each page, with its lines joined by spaces."""
    document = pypdfium2.PdfDocument(content)
    try:
        return [" ".join(page.get_textpage().get_text_range().replace("\ufffe", "").split()) for page in document]
    finally:
        document.close()


def scanned_codes(content: bytes, scale: float = 2.5) -> list[str]:
    """Return the contents of all QR codes, in the order of the pages."""
    document = pypdfium2.PdfDocument(content)
    try:
        pictures = [page.render(scale=scale).to_pil() for page in document]
    finally:
        document.close()
    return [code.text for picture in pictures for code in zxingcpp.read_barcodes(picture)]
