//! What the tests share: real registries, base images from Debian packages, image comparison.
