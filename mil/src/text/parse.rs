//! Reads a program from text.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ParseError;
use super::lex::{Lexer, Token, error};
use super::number::read_elements;
use crate::builder::is_identifier;
use crate::dtype::DataType;
use crate::opset::{Opset, Target};
use crate::program::{Binding, Block, Function, NamedType, Operation, Program};
use crate::types::{Dim, TensorType, ValueType};
use crate::value::{Data, Immediate, Value};
use crate::weight::WeightSource;

/// How deep types, values, brackets and blocks may nest, together.
const MAX_DEPTH: usize = 64;

/// Reads the text [`super::print()`] writes; `weights` are those the text refers to.
///
/// The program is not checked: see [`crate::check()`].
///
/// # Errors
/// At the first place where the text is no program, or refers to a weight that isn't there or is of another
/// length than it says.
pub fn parse(text: &str, weights: &[Arc<dyn WeightSource>]) -> Result<Program, ParseError> {
    let mut lexer = Lexer::new(text);
    let (next, place) = lexer.next()?;
    let mut parser = Parser {
        lexer,
        next,
        place,
        weights,
        depth: 0,
    };
    let program = parser.program()?;
    match parser.next {
        Token::End => Ok(program),
        _ => Err(parser.unexpected("nothing more")),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    next: Token,
    place: (usize, usize),
    weights: &'a [Arc<dyn WeightSource>],
    depth: usize,
}

impl Parser<'_> {
    fn unexpected(&self, wanted: &str) -> ParseError {
        error(
            self.place,
            format!("expected {wanted}, found {}", self.next.describe()),
        )
    }

    fn advance(&mut self) -> Result<Token, ParseError> {
        let (next, place) = self.lexer.next()?;
        self.place = place;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Takes a mark if it is next.
    fn accept(&mut self, mark: char) -> Result<bool, ParseError> {
        let found = self.next == Token::Mark(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, mark: char) -> Result<(), ParseError> {
        if self.accept(mark)? {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{mark}`")))
        }
    }

    /// Whether the next word is `word`.
    fn at(&self, word: &str) -> bool {
        matches!(&self.next, Token::Word(next) if next == word)
    }

    fn keyword(&mut self, word: &str) -> Result<(), ParseError> {
        if self.at(word) {
            self.advance()?;
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{word}`")))
        }
    }

    fn word(&mut self, wanted: &str) -> Result<String, ParseError> {
        match &self.next {
            Token::Word(_) => match self.advance()? {
                Token::Word(word) => Ok(word),
                _ => Ok(String::new()),
            },
            _ => Err(self.unexpected(wanted)),
        }
    }

    fn number<T: std::str::FromStr>(&mut self, wanted: &str) -> Result<T, ParseError> {
        let place = self.place;
        let word = self.word(wanted)?;
        // Rust would take `+1`.
        if word.starts_with(|first: char| first.is_ascii_digit())
            && let Ok(number) = word.parse()
        {
            return Ok(number);
        }
        Err(error(
            place,
            format!("expected {wanted}, found {}", Token::Word(word).describe()),
        ))
    }

    /// Items separated by commas up to the closing mark.
    fn list(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        if self.accept(close)? {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.accept(',')? {
                return self.expect(close);
            }
        }
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth == MAX_DEPTH {
            return Err(error(self.place, format!("nested more than {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn string(&mut self) -> Result<String, ParseError> {
        match &self.next {
            Token::Text(_) => match self.advance()? {
                Token::Text(text) => Ok(text),
                _ => Ok(String::new()),
            },
            _ => Err(self.unexpected("a string")),
        }
    }

    /// An identifier, or any name in quotes.
    fn name(&mut self) -> Result<String, ParseError> {
        match &self.next {
            Token::Text(_) => self.string(),
            Token::Word(word) if is_identifier(word) && word.parse::<DataType>().is_err() => {
                self.word("a name")
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn program(&mut self) -> Result<Program, ParseError> {
        self.keyword("program")?;
        self.expect('(')?;
        if !self.at("1.0") {
            return Err(self.unexpected("version `1.0`"));
        }
        self.advance()?;
        self.expect(')')?;
        let mut program = Program {
            functions: BTreeMap::new(),
            attributes: self.attributes()?,
        };
        self.expect('{')?;
        while !self.accept('}')? {
            self.keyword("func")?;
            let place = self.place;
            let name = self.name()?;
            let function = self.function()?;
            if program.functions.insert(name.clone(), function).is_some() {
                return Err(error(place, format!("there are two functions `{name}`")));
            }
        }
        Ok(program)
    }

    /// `<ios17>`, or the opset's own name.
    fn opset(&mut self) -> Result<Opset, ParseError> {
        self.expect('<')?;
        let place = self.place;
        let word = self.word("a target")?;
        let opset = word
            .parse::<Target>()
            .map(Target::opset)
            .or_else(|()| word.parse());
        let opset = opset.map_err(|()| {
            let names = Target::ALL.map(Target::name).join(", ");
            error(
                place,
                format!("{} is not one of {names}", Token::Word(word).describe()),
            )
        })?;
        self.expect('>')?;
        Ok(opset)
    }

    fn function(&mut self) -> Result<Function, ParseError> {
        let opset = self.opset()?;
        let attributes = self.attributes()?;
        self.expect('(')?;
        let inputs = self.named_types(')')?;
        let mut blocks = BTreeMap::new();
        if self.next != Token::Mark(';') && !self.at("also") {
            blocks.insert(opset, self.block()?);
        }
        while self.at("also") {
            self.advance()?;
            let place = self.place;
            let opset = self.opset()?;
            if blocks.insert(opset, self.block()?).is_some() {
                return Err(error(place, format!("there are two blocks for {opset}")));
            }
        }
        self.expect(';')?;
        Ok(Function {
            inputs,
            opset,
            blocks,
            attributes,
        })
    }

    /// `[key = value, ..]`, or nothing.
    fn attributes(&mut self) -> Result<BTreeMap<String, Value>, ParseError> {
        let mut attributes = BTreeMap::new();
        if self.accept('[')? {
            self.list(']', |parser| {
                let place = parser.place;
                let key = parser.name()?;
                parser.expect('=')?;
                let value = parser.value()?;
                match attributes.insert(key, value) {
                    None => Ok(()),
                    Some(_) => Err(error(place, "the attribute is given twice")),
                }
            })?;
        }
        Ok(attributes)
    }

    fn named_types(&mut self, close: char) -> Result<Vec<NamedType>, ParseError> {
        let mut types = Vec::new();
        self.list(close, |parser| {
            types.push(parser.named_type()?);
            Ok(())
        })?;
        Ok(types)
    }

    fn named_type(&mut self) -> Result<NamedType, ParseError> {
        let ty = self.value_type()?;
        Ok(NamedType {
            name: self.name()?,
            ty,
        })
    }

    fn block(&mut self) -> Result<Block, ParseError> {
        self.deeper(|parser| {
            let mut block = Block {
                attributes: parser.attributes()?,
                ..Block::default()
            };
            if parser.accept('(')? {
                block.inputs = parser.named_types(')')?;
            }
            parser.expect('{')?;
            while !parser.accept('}')? {
                block.operations.push(parser.operation()?);
                parser.expect(';')?;
            }
            if parser.next != Token::Arrow {
                return Err(parser.unexpected("`->`"));
            }
            parser.advance()?;
            parser.expect('(')?;
            parser.list(')', |parser| {
                block.outputs.push(parser.name()?);
                Ok(())
            })?;
            Ok(block)
        })
    }

    fn operation(&mut self) -> Result<Operation, ParseError> {
        let mut outputs = Vec::new();
        if self.at_type() {
            loop {
                outputs.push(self.named_type()?);
                if !self.accept(',')? {
                    break;
                }
            }
            self.expect('=')?;
        }
        let op = self.name()?;
        let mut inputs = BTreeMap::new();
        self.expect('(')?;
        self.list(')', |parser| {
            let place = parser.place;
            let param = parser.name()?;
            parser.expect('=')?;
            let mut bindings = Vec::new();
            if parser.accept('(')? {
                parser.list(')', |parser| {
                    bindings.push(parser.binding()?);
                    Ok(())
                })?;
            } else {
                bindings.push(parser.binding()?);
            }
            match inputs.insert(param, bindings) {
                None => Ok(()),
                Some(_) => Err(error(place, "the parameter is bound twice")),
            }
        })?;
        let attributes = self.attributes()?;
        let mut blocks = Vec::new();
        while self.at("block") {
            self.advance()?;
            blocks.push(self.block()?);
        }
        Ok(Operation {
            op,
            inputs,
            outputs,
            attributes,
            blocks,
        })
    }

    fn binding(&mut self) -> Result<Binding, ParseError> {
        if self.at_type() {
            self.value().map(Binding::Value)
        } else {
            self.name().map(Binding::Name)
        }
    }

    /// Whether a type is next.
    fn at_type(&self) -> bool {
        matches!(&self.next, Token::Word(word)
            if matches!(word.as_str(), "tensor" | "list" | "tuple" | "dict" | "state")
                || word.parse::<DataType>().is_ok())
    }

    fn dim(&mut self) -> Result<Dim, ParseError> {
        if self.accept('?')? {
            self.number("the number of a symbol").map(Dim::Symbol)
        } else {
            self.number("a size or a symbol").map(Dim::Known)
        }
    }

    fn value_type(&mut self) -> Result<ValueType, ParseError> {
        self.deeper(|parser| {
            let place = parser.place;
            let word = parser.word("a type")?;
            if let Ok(dtype) = word.parse::<DataType>() {
                return Ok(TensorType::scalar(dtype).into());
            }
            parser.expect('<')?;
            let ty = match word.as_str() {
                "tensor" => {
                    let place = parser.place;
                    let word = parser.word("an element type")?;
                    let dtype = word.parse().map_err(|()| {
                        error(
                            place,
                            format!("{} is no element type", Token::Word(word).describe()),
                        )
                    })?;
                    parser.expect(',')?;
                    parser.expect('[')?;
                    let mut shape = Vec::new();
                    parser.list(']', |parser| {
                        shape.push(parser.dim()?);
                        Ok(())
                    })?;
                    parser.expect('>')?;
                    TensorType { dtype, shape }.into()
                }
                "list" => {
                    let element = parser.value_type()?;
                    parser.expect(',')?;
                    let length = parser.dim()?;
                    parser.expect('>')?;
                    ValueType::List(Box::new(element), length)
                }
                "tuple" => {
                    let mut elements = Vec::new();
                    parser.list('>', |parser| {
                        elements.push(parser.value_type()?);
                        Ok(())
                    })?;
                    ValueType::Tuple(elements)
                }
                "dict" => {
                    let key = parser.value_type()?;
                    parser.expect(',')?;
                    let value = parser.value_type()?;
                    parser.expect('>')?;
                    ValueType::Dictionary(Box::new(key), Box::new(value))
                }
                "state" => {
                    let inner = parser.value_type()?;
                    parser.expect('>')?;
                    ValueType::State(Box::new(inner))
                }
                _ => {
                    return Err(error(
                        place,
                        format!("{} is no type", Token::Word(word).describe()),
                    ));
                }
            };
            Ok(ty)
        })
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        self.deeper(|parser| {
            let ty = parser.value_type()?;
            parser.expect('(')?;
            let form = match &parser.next {
                Token::Word(word) => word.clone(),
                _ => String::new(),
            };
            let data = match form.as_str() {
                "weight" => parser.weight()?,
                "items" => Data::List(parser.values()?),
                "tuple" => Data::Tuple(parser.values()?),
                "pairs" => parser.pairs()?,
                "hex" => parser.hex()?,
                "strings" => {
                    parser.advance()?;
                    parser.expect('(')?;
                    let mut strings = Vec::new();
                    parser.list(')', |parser| {
                        strings.push(parser.string()?);
                        Ok(())
                    })?;
                    Data::Immediate(Immediate::Strings(strings))
                }
                _ => Data::Immediate(parser.immediate(&ty)?),
            };
            parser.expect(')')?;
            Ok(Value { ty, data })
        })
    }

    /// `weight(index, bytes = length)`.
    fn weight(&mut self) -> Result<Data, ParseError> {
        self.advance()?;
        self.expect('(')?;
        let place = self.place;
        let index: usize = self.number("the index of a weight")?;
        self.expect(',')?;
        self.keyword("bytes")?;
        self.expect('=')?;
        let length: u64 = self.number("the length of a weight")?;
        self.expect(')')?;
        let source = self.weights.get(index).ok_or_else(|| {
            error(
                place,
                format!("there is no weight {index}: {} are given", self.weights.len()),
            )
        })?;
        if source.byte_len() != length {
            return Err(error(
                place,
                format!("weight {index} has {} bytes, not {length}", source.byte_len()),
            ));
        }
        Ok(Data::Weight(Arc::clone(source)))
    }

    fn values(&mut self) -> Result<Vec<Value>, ParseError> {
        self.advance()?;
        self.expect('(')?;
        let mut values = Vec::new();
        self.list(')', |parser| {
            values.push(parser.value()?);
            Ok(())
        })?;
        Ok(values)
    }

    fn pairs(&mut self) -> Result<Data, ParseError> {
        self.advance()?;
        self.expect('(')?;
        let mut pairs = Vec::new();
        self.list(')', |parser| {
            let key = parser.value()?;
            parser.expect(':')?;
            pairs.push((key, parser.value()?));
            Ok(())
        })?;
        Ok(Data::Dictionary(pairs))
    }

    fn hex(&mut self) -> Result<Data, ParseError> {
        self.advance()?;
        self.expect('(')?;
        let place = self.place;
        let text = self.string()?;
        self.expect(')')?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
            .collect();
        match bytes {
            Some(bytes) if rest.is_empty() => Ok(Data::Immediate(Immediate::Bytes(bytes))),
            _ => Err(error(place, "not pairs of hexadecimal digits")),
        }
    }

    /// The elements of an inline tensor; brackets are for the reader, the type says the shape.
    fn immediate(&mut self, ty: &ValueType) -> Result<Immediate, ParseError> {
        let place = self.place;
        let Some(tensor) = ty.as_tensor() else {
            return Err(self.unexpected("`items`, `tuple`, `pairs` or other data"));
        };
        let mut elements = Elements::default();
        self.elements(tensor, &mut elements)?;
        let given = elements.words.len().max(elements.strings.len()) as u64;
        match tensor.element_count() {
            Some(count) if count == given => {}
            Some(count) => {
                return Err(error(
                    place,
                    format!("{tensor} has {count} elements, {given} are given"),
                ));
            }
            None => return Err(error(place, format!("{tensor} has no fixed number of elements"))),
        }
        if tensor.dtype == DataType::String {
            return Ok(Immediate::Strings(elements.strings));
        }
        read_elements(tensor.dtype, &elements.words)
            .map(Immediate::Bytes)
            .map_err(|index| {
                let word = Token::Word(elements.words[index].clone()).describe();
                error(elements.places[index], format!("{word} is no {}", tensor.dtype))
            })
    }

    fn elements(&mut self, tensor: &TensorType, elements: &mut Elements) -> Result<(), ParseError> {
        if self.accept('[')? {
            return self.deeper(|parser| parser.list(']', |parser| parser.elements(tensor, elements)));
        }
        if tensor.dtype == DataType::String {
            elements.strings.push(self.string()?);
            return Ok(());
        }
        elements.places.push(self.place);
        let mut word = self.word("an element")?;
        if word == "nan" && self.accept('(')? {
            word = format!("nan({})", self.word("the bits of a nan")?);
            self.expect(')')?;
        }
        elements.words.push(word);
        Ok(())
    }
}

/// What stands between the brackets of an inline tensor.
#[derive(Default)]
struct Elements {
    words: Vec<String>,
    places: Vec<(usize, usize)>,
    strings: Vec<String>,
}
