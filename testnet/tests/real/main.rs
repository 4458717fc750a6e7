//! Tests with real node processes: what survives kill -9, what many at once, a wrong order of steps, an
//! expired status, a new roster and a partition leave standing, what is cleaned up, and the demo itself.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod dropped;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod expired;
#[cfg(test)]
mod fate;
#[cfg(test)]
mod hand;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod meeting;
#[cfg(test)]
mod parallel;
#[cfg(test)]
mod people;
#[cfg(test)]
mod shell;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod start;
#[cfg(test)]
mod too_early;
#[cfg(test)]
mod wrong_order;
