//! The offline model: a loopback Messages API that lets the real CLI run with no account.
/// stub
pub struct Options {
    /// x
    pub listen: std::net::SocketAddr,
}
/// stub
pub fn serve(_: &Options) -> Result<(), std::io::Error> {
    Ok(())
}
