"""The database: the only package that contains SQL.

Begin with ``store``, the whole interface, and ``schema``, the tables; each other module has the statements of one
subject.  ``batches`` commits writes together, ``migrations`` has the versions of the schema.
"""
