//! OCI distribution: client, credentials, and a small registry server.
