//! The index against a plain model.
