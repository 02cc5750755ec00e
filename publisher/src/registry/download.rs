//! A blob on its way from a registry, which goes on where a broken connection left off.
//!
//! A body that ends early in good order is another blob, not a broken connection; whoever reads it finds out.

use std::io::{self, Read};

use super::client::Answer;
use crate::error::PublishError;

/// How often a blob's download is taken up again at most.
const RESUMPTIONS: u32 = 4;

/// A blob's bytes. Asks `begin` for the rest when the connection breaks.
pub(super) struct Download<'a, F> {
    body: Box<dyn Read + 'a>,
    begin: F,
    size: u64,
    at: u64,
    left: u32,
}

impl<'a, F> Download<'a, F>
where
    F: Fn(u64) -> Result<Answer, PublishError>,
{
    /// `body` gives the blob from its beginning.
    pub(super) fn new(body: impl Read + 'a, size: u64, begin: F) -> Self {
        Self {
            body: Box::new(body),
            begin,
            size,
            at: 0,
            left: RESUMPTIONS,
        }
    }

    /// Asks for the rest.
    fn resume(&mut self) -> io::Result<()> {
        self.left -= 1;
        let answer = (self.begin)(self.at).map_err(io::Error::other)?;
        // Registries may give all of it again.
        let skip = if answer.status() == 206 { 0 } else { self.at };
        let mut body = Box::new(answer.body());
        io::copy(&mut body.by_ref().take(skip), &mut io::sink())?;
        self.body = body;
        Ok(())
    }
}

impl<F> Read for Download<'_, F>
where
    F: Fn(u64) -> Result<Answer, PublishError>,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let broken = match self.body.read(buffer) {
                Ok(count) => {
                    self.at += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            if self.left == 0 || self.at >= self.size {
                return Err(broken);
            }
            self.resume()?;
        }
    }
}
