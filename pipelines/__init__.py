"""The pipeline that compresses a teacher, and what it asks of Kubernetes. It may import `base` and `components`."""
