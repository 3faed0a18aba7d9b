//! The same steps for an ordinary user.
