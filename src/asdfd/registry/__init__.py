"""Where finished students live: objects in a folder or on S3, versions and aliases on top of them, and the gate that a version has to pass."""
