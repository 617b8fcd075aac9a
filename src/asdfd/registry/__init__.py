"""Where finished students live: versions and aliases as objects, and the gate that a version has to pass. It may import `base`, `storage` and `monitoring`."""
