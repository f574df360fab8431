"""Documents for printing: PDF pages, sheets of labels, reports.

Pure functions from values to bytes, which take seconds for long documents: call them in a pool.  Begin with
:mod:`.pdf`; its libraries are imported for the first document, since they take a third of a second and some megabytes.
"""
