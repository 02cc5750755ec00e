//! Zip archives made byte by byte, so that every field can be made to lie.

/// Offsets of the fields a test may want to change.
pub(crate) struct Zip {
    pub(crate) bytes: Vec<u8>,
    /// Local header of each entry.
    pub(crate) local: Vec<usize>,
    /// Central header of each entry.
    pub(crate) central: Vec<usize>,
    /// End record.
    pub(crate) end: usize,
}

impl Zip {
    /// An archive of stored entries, without zip64 records.
    pub(crate) fn of(entries: &[(&str, &[u8])]) -> Self {
        let (mut bytes, mut local, mut central) = (Vec::new(), Vec::new(), Vec::new());
        for (name, data) in entries {
            local.push(bytes.len());
            bytes.extend(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0");
            bytes.extend(sizes(name, data));
            bytes.extend([0, 0]);
            bytes.extend(name.as_bytes());
            bytes.extend(*data);
        }
        let start = bytes.len();
        for ((name, data), offset) in entries.iter().zip(&local) {
            central.push(bytes.len());
            bytes.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0");
            bytes.extend(sizes(name, data));
            bytes.extend([0; 12]);
            bytes.extend((*offset as u32).to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        let end = bytes.len();
        let count = (entries.len() as u16).to_le_bytes();
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend(count);
        bytes.extend(count);
        bytes.extend(((end - start) as u32).to_le_bytes());
        bytes.extend((start as u32).to_le_bytes());
        bytes.extend([0, 0]);
        Self {
            bytes,
            local,
            central,
            end,
        }
    }

    /// Puts other bytes at a place.
    pub(crate) fn patch(mut self, at: usize, new: &[u8]) -> Self {
        self.bytes[at..at + new.len()].copy_from_slice(new);
        self
    }
}

/// CRC (0, not computed), packed size, size, name length.
fn sizes(name: &str, data: &[u8]) -> Vec<u8> {
    let size = (data.len() as u32).to_le_bytes();
    [&[0; 4], &size[..], &size, &(name.len() as u16).to_le_bytes()].concat()
}
