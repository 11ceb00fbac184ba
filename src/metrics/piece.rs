//! Pieces of text, and how they are appended to an exposition.
//!
//! An exposition consists of short pieces. A copy whose length is known only at run time is a call of `memcpy`, and with musl, the C
//! library of the static builds, such a call takes several times as long as a copy of a fixed length.

/// Appends a short piece without a call: in blocks of a fixed size, of which the last two overlap.
#[inline]
pub fn append(text: &mut Vec<u8>, piece: &[u8]) {
    match piece.len() {
        16.. => match piece.len() {
            128.. => blocks::<128>(text, piece),
            64.. => blocks::<64>(text, piece),
            32.. => blocks::<32>(text, piece),
            _ => blocks::<16>(text, piece),
        },
        8.. => blocks::<8>(text, piece),
        4.. => blocks::<4>(text, piece),
        2.. => blocks::<2>(text, piece),
        1 => blocks::<1>(text, piece),
        0 => {}
    }
}

/// Appends a piece of at least one block.
#[inline]
fn blocks<const SIZE: usize>(text: &mut Vec<u8>, piece: &[u8]) {
    let end = text.len() + piece.len();
    for block in piece.as_chunks::<SIZE>().0 {
        text.extend_from_slice(block);
    }
    if let Some(last) = piece.last_chunk::<SIZE>() {
        text.truncate(end - SIZE);
        text.extend_from_slice(last);
    }
}

/// Pieces that are made once and copied in each scrape, one after the other in memory.
#[derive(Debug)]
pub struct Pieces {
    text: Vec<u8>,
    /// Where each piece begins, and the end of the last one.
    bounds: Vec<usize>,
}

impl FromIterator<String> for Pieces {
    fn from_iter<I: IntoIterator<Item = String>>(pieces: I) -> Self {
        let (mut text, mut bounds) = (Vec::new(), vec![0]);
        for piece in pieces {
            text.extend_from_slice(piece.as_bytes());
            bounds.push(text.len());
        }
        Self { text, bounds }
    }
}

impl Pieces {
    /// The piece with this number.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[must_use]
    pub fn get(&self, number: usize) -> &[u8] {
        &self.text[self.bounds[number]..self.bounds[number + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_pieces_of_every_length() {
        let letters: String = ('a'..='z').cycle().take(300).collect();
        for length in 0..=letters.len() {
            let mut text = b"before".to_vec();
            append(&mut text, &letters.as_bytes()[..length]);
            append(&mut text, b"after");
            assert_eq!(String::from_utf8(text).unwrap(), format!("before{}after", &letters[..length]));
        }
    }
}
