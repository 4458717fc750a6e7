//! Tests with real node processes: what survives kill -9, what is cleaned up, and the demo itself.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod meeting;
#[cfg(test)]
mod shell;
#[cfg(test)]
mod start;
