"""HTTP as every outlet uses it: bounded requests, whole responses, and what the connection tells of the peer."""
