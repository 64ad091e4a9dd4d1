//! Every limit on what others decide: what registries and services answer, what images and signatures
//! say, what is in files and lists, what clients send to `serve`.
//!
//! Whatever has no bound of its own would be bounded by memory. Each limit says what it bounds, in which
//! unit, why it is that number, and where that is from; `docs/LIMITS.md` has them in a table, with what
//! happens beyond. Passing one is an error that names it, never a crash.
//!
//! Not here: how much of a text is shown, how long something is waited for, how often it is tried again,
//! and how much is done at once. Those stand where they are used.

pub mod answer;
pub mod cache;
pub mod image;
pub mod input;
pub mod serve;
pub mod signature;

#[cfg(test)]
mod tests;
