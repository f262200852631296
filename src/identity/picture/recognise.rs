//! What a line says: PP-OCRv4 recognition, of which only Latin letters are listened to.

use rten::{Model, NodeId, Value};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

use super::{Grey, Quad};

/// Height of a line as the model is shown it, and its width at most.
pub const HEIGHT: usize = 48;
const WIDEST: usize = 2000;
const NARROWEST: usize = 24;

/// The signs of a machine-readable zone, in the order of their classes here.
pub const SIGNS: &[u8; 37] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ<";

/// Signs that stand for one of a zone: an angle of another script, say.
const FILLERS: &str = "<《〈«‹＜く≤";
/// Letters that are kept besides ASCII.
const ACCENTED: &str =
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœŒĂăÂâŞşŢţŁłŚśŹźŻżĄąĘęĆćŃńİıĞğ°º•·";

/// Reads lines.
pub struct Recogniser {
    model: Model,
    input: NodeId,
    output: NodeId,
    /// Class and letter of those that count in ordinary text.
    latin: Vec<(usize, char)>,
    /// For each sign of a zone, the classes that stand for it.
    signs: Vec<Vec<usize>>,
}

impl std::fmt::Debug for Recogniser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recogniser")
    }
}

/// What the model says of a line: for each step along it, how probable what is.
#[derive(Clone)]
pub struct Heard {
    /// Ordinary text.
    pub text: String,
    /// How sure it is of that, on average, from 0 to 1.
    pub sure: f32,
    /// Logarithms: each step has the signs of a zone, then none.
    pub steps: Vec<[f32; 38]>,
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heard").field("sure", &self.sure).finish_non_exhaustive()
    }
}

impl Recogniser {
    /// With the weights in this ONNX file, which lists its letters too.
    #[must_use]
    pub fn new(onnx: Vec<u8>) -> Option<Self> {
        let model = Model::load(onnx).ok()?;
        let (input, output) = (*model.input_ids().first()?, *model.output_ids().first()?);
        // The first class is none, the last is the space, which the list leaves out.
        let listed = model.metadata().get("character")?;
        let letters: Vec<char> =
            listed.lines().map(|line| line.chars().next().unwrap_or(' ')).collect();
        let mut latin: Vec<(usize, char)> = letters
            .iter()
            .enumerate()
            .filter(|(_, letter)| {
                letter.is_ascii_graphic()
                    || ACCENTED.contains(**letter)
                    || FILLERS.contains(**letter)
            })
            .map(|(at, letter)| (at + 1, if FILLERS.contains(*letter) { '<' } else { *letter }))
            .collect();
        latin.push((letters.len() + 1, ' '));
        let classes = |sign: char| {
            latin
                .iter()
                .filter(|(_, letter)| letter.to_ascii_uppercase() == sign)
                .map(|(class, _)| *class)
                .collect()
        };
        let signs = SIGNS.iter().map(|sign| classes(char::from(*sign))).collect();
        Some(Self { model, input, output, latin, signs })
    }

    /// Reads what a quadrilateral of a picture holds.
    #[must_use]
    pub fn read(&self, grey: &Grey, quad: &Quad) -> Option<Heard> {
        let width = (HEIGHT as f32 * quad.length() / quad.height().max(1.0)).round() as usize;
        self.heard(&strip(grey, quad, width.clamp(NARROWEST, WIDEST)))
    }

    /// Reads a strip of [`HEIGHT`].
    #[must_use]
    pub fn heard(&self, strip: &Grey) -> Option<Heard> {
        let plane: Vec<f32> =
            strip.pixels.iter().map(|pixel| f32::from(*pixel) / 127.5 - 1.0).collect();
        let input = NdTensor::from_data([1, 3, strip.height, strip.width], plane.repeat(3));
        let mut out =
            self.model.run(vec![(self.input, input.into())], &[self.output], None).ok()?;
        let value: Value = out.pop()?;
        let map: NdTensor<f32, 3> = value.try_into().ok()?;
        let map = map.to_contiguous();
        let classes = map.size(2);
        if self.latin.iter().any(|(class, _)| *class >= classes) {
            return None;
        }
        let view = map.data();
        let (mut text, mut sum, mut count, mut last) = (String::new(), 0.0, 0usize, None);
        let mut steps = Vec::with_capacity(map.size(1));
        for step in view.chunks_exact(classes) {
            let none = step[0];
            let (mut best, mut letter) = (none, None);
            for (class, is) in &self.latin {
                if step[*class] > best {
                    (best, letter) = (step[*class], Some(*is));
                }
            }
            if letter.is_some() && letter != last {
                text.extend(letter);
                sum += best;
                count += 1;
            }
            last = letter;
            steps.push(self.zone(step));
        }
        let sure = if count == 0 { 0.0 } else { sum / count as f32 };
        Some(Heard { text: text.trim().to_owned(), sure, steps })
    }

    /// What a step says of the signs of a zone: the rest is left out, and what is left made whole.
    fn zone(&self, step: &[f32]) -> [f32; 38] {
        const LEAST: f32 = 1e-6;
        let mut out = [step[0].max(LEAST); 38];
        for (classes, out) in self.signs.iter().zip(&mut out) {
            *out = classes.iter().map(|class| step[*class]).sum::<f32>().max(LEAST);
        }
        let sum: f32 = out.iter().sum();
        out.map(|part| (part / sum).ln())
    }
}

/// What a quadrilateral holds, [`HEIGHT`] high and this wide.
#[must_use]
pub fn strip(grey: &Grey, quad: &Quad, width: usize) -> Grey {
    // Large letters are made smaller by halves first, so that no stroke falls between two pixels.
    let shrink = (quad.height() / HEIGHT as f32).floor().clamp(1.0, 4.0) as usize;
    grey.straightened(quad, width * shrink, HEIGHT * shrink).resized(width, HEIGHT)
}
