"""Exchange the normalizations of a network that exists: trace it, pair its layers, take over what they learned."""
