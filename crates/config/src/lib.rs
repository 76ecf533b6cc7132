//! Front ends, key table and diagnostics: cluster files into the model.
