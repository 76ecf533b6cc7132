//! Values that know where in the file they stand.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

/// Bytes of the file, from and to.
pub(crate) type Span = Range<usize>;

/// A node of the TOML tree.
pub(crate) type Item<'i> = Spanned<DeValue<'i>>;

/// A value and where it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Span,
}

impl<T> At<T> {
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// The values alone.
pub(crate) fn values<T: Clone>(list: &[At<T>]) -> Vec<T> {
    list.iter().map(|at| at.value.clone()).collect()
}
