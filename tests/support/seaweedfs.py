"""Where tests find SeaweedFS."""

from ptefoundry.registry.embedded import S3Server, serve_s3

__all__ = ["S3Server", "serve_s3"]
