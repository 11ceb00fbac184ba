//! Turns the bytes of a report into the text of an exposition. All functions here are pure.

#[cfg_attr(docsrs, doc(hidden))]
pub mod catalogue;
#[cfg_attr(docsrs, doc(hidden))]
pub mod distribution;
#[cfg_attr(docsrs, doc(hidden))]
pub mod family;
pub mod format;
#[cfg_attr(docsrs, doc(hidden))]
pub mod piece;
#[cfg_attr(docsrs, doc(hidden))]
pub mod render;
#[cfg_attr(docsrs, doc(hidden))]
pub mod report;
pub mod unknown;
