//! From the bytes of a report to the text of an exposition. Everything here is a pure function.

#[cfg_attr(docsrs, doc(hidden))]
pub mod catalogue;
#[cfg_attr(docsrs, doc(hidden))]
pub mod distribution;
#[cfg_attr(docsrs, doc(hidden))]
pub mod family;
pub mod format;
#[cfg_attr(docsrs, doc(hidden))]
pub mod render;
#[cfg_attr(docsrs, doc(hidden))]
pub mod report;
pub mod unknown;
