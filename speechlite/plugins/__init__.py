"""Discovery, registry and listing of plugins."""
