//! The suite: the product from outside, bytes in and bytes out.

mod inbox;
