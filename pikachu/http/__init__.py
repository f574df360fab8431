"""HTTP for every endpoint: bounded requests, complete responses, and peer information from the connection."""
