//! Asymmetric keys: epochs, members, the admin. With `reply::answer` the one place that names age.

pub mod epoch;
