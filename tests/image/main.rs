//! Black-box tests of the built image, through the Docker client only.
//!
//! `CLAUDEBOX_TEST_IMAGE` names the image, the minimal or the full one; without it every test that needs one says so and passes. No container has a network:
//! the real CLI talks to the offline model inside its own box.

mod api;
mod basics;
mod boot;
mod clean;
mod docker;
mod dockerfiles;
mod fetch;
mod inventory;
mod pins;
mod tools;
