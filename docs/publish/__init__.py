"""Makes a site and a PDF of the guide: ``./script/docs`` runs ``python -m docs.publish``.

:mod:`.checks` finds broken links and missing pictures, :mod:`.site` writes the site with Sphinx, :mod:`.book` the PDF
with WeasyPrint.
"""
