//! Tokens to a tree: the part of Python that `torch/csrc/jit/serialization/python_print.cpp` writes.

use super::lex::{SyntaxError, Token, TokenKind, tokens};
use super::syntax::{
    Argument, Class, Expression, ExpressionKind, Function, Parameter, Span, Statement, StatementKind, Text,
};

/// Deepest nesting of expressions: traces nest a few calls, one in the other.
const DEEPEST: usize = 200;

/// Statements a trace does not need, by the keyword they start with. Their blocks are skipped, so that a method
/// nobody calls may have them.
const REFUSED: [&str; 11] = [
    "for", "while", "assert", "raise", "with", "try", "del", "break", "continue", "global", "def",
];

/// Names that can't stand for a value.
const KEYWORDS: [&str; 18] = [
    "and", "or", "not", "is", "in", "if", "else", "elif", "for", "while", "def", "class", "return", "pass",
    "lambda", "import", "from", "as",
];

/// Binary operators, loosest first: what each level has, and the ATen function it stands for.
const LEVELS: [&[(&str, &str)]; 8] = [
    &[("or", "__or__")],
    &[("and", "__and__")],
    &[
        ("==", "eq"),
        ("!=", "ne"),
        ("<=", "le"),
        (">=", "ge"),
        ("<", "lt"),
        (">", "gt"),
        ("is", "__is__"),
        ("in", "__contains__"),
    ],
    &[("|", "__or__"), ("^", "__xor__")],
    &[("&", "__and__")],
    &[("<<", "__lshift__"), (">>", "__rshift__")],
    &[("+", "add"), ("-", "sub")],
    &[
        ("*", "mul"),
        ("//", "floordiv"),
        ("/", "div"),
        ("%", "remainder"),
        ("@", "matmul"),
    ],
];

/// Reads one text.
///
/// # Errors
/// What is not TorchScript, and where.
pub(super) fn parse(text: &str) -> Result<Text, SyntaxError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        position: 0,
        depth: 0,
    };
    parser.text()
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
    depth: usize,
}

type Parsed<T> = Result<T, SyntaxError>;

impl Parser {
    fn text(&mut self) -> Parsed<Text> {
        let mut text = Text::default();
        loop {
            match self.peek() {
                TokenKind::End => return Ok(text),
                TokenKind::Name(name) if name == "class" => text.classes.push(self.class()?),
                TokenKind::Name(name) if name == "def" => text.functions.push(self.function()?),
                // `import …`, `op_version_set = 1`: what older versions of the format open with.
                TokenKind::Name(_) => self.skip_statement(),
                _ => return self.fail("a class or a function is expected here"),
            }
        }
    }

    fn class(&mut self) -> Parsed<Class> {
        self.position += 1;
        let name = self.name()?;
        if self.take("(") {
            self.arguments(")")?;
        }
        self.expect(":")?;
        self.expect_kind(&TokenKind::Newline, "the end of the line")?;
        self.expect_kind(&TokenKind::Indent, "an indented block")?;
        let mut methods = Vec::new();
        loop {
            match self.peek() {
                TokenKind::Dedent => {
                    self.position += 1;
                    break;
                }
                TokenKind::End => break,
                TokenKind::Name(word) if word == "def" => methods.push(self.function()?),
                // Fields and lists of names: `weight : Tensor`, `__parameters__ = ["weight", ]`.
                _ => self.skip_statement(),
            }
        }
        Ok(Class { name, methods })
    }

    fn function(&mut self) -> Parsed<Function> {
        let span = self.span();
        self.position += 1;
        let name = self.name()?;
        self.expect("(")?;
        let mut parameters = Vec::new();
        while !self.take(")") {
            self.take("*");
            let span = self.span();
            let name = self.name()?;
            let ty = if self.take(":") {
                Some(self.expression()?)
            } else {
                None
            };
            let default = if self.take("=") {
                Some(self.expression()?)
            } else {
                None
            };
            parameters.push(Parameter {
                name,
                ty,
                default,
                span,
            });
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        if self.take("->") {
            self.expression()?;
        }
        self.expect(":")?;
        let body = self.block()?;
        Ok(Function {
            name,
            parameters,
            body,
            span,
        })
    }

    fn block(&mut self) -> Parsed<Vec<Statement>> {
        if *self.peek() != TokenKind::Newline {
            return Ok(vec![self.statement()?]);
        }
        self.position += 1;
        self.expect_kind(&TokenKind::Indent, "an indented block")?;
        let mut statements = Vec::new();
        loop {
            match self.peek() {
                TokenKind::Dedent => {
                    self.position += 1;
                    return Ok(statements);
                }
                TokenKind::End => return Ok(statements),
                _ => statements.push(self.statement()?),
            }
        }
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let span = self.span();
        let kind = match self.peek() {
            TokenKind::Name(word) => {
                if let Some(keyword) = REFUSED.into_iter().find(|keyword| keyword == word) {
                    self.skip_statement();
                    StatementKind::Refused(keyword)
                } else if word == "return" {
                    self.position += 1;
                    let value = match self.peek() {
                        TokenKind::Newline | TokenKind::End => None,
                        _ => Some(self.tuple()?),
                    };
                    self.end_of_line()?;
                    StatementKind::Return(value)
                } else if word == "if" {
                    self.position += 1;
                    self.branches()?
                } else if word == "pass" {
                    self.position += 1;
                    self.end_of_line()?;
                    StatementKind::Pass
                } else {
                    self.assignment()?
                }
            }
            _ => self.assignment()?,
        };
        Ok(Statement { kind, span })
    }

    /// Everything after `if` or `elif`.
    fn branches(&mut self) -> Parsed<StatementKind> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.fail("the code is nested too deeply");
        }
        let condition = self.expression()?;
        self.expect(":")?;
        let then = self.block()?;
        let span = self.span();
        let otherwise = if self.take_word("elif") {
            vec![Statement {
                kind: self.branches()?,
                span,
            }]
        } else if self.take_word("else") {
            self.expect(":")?;
            self.block()?
        } else {
            Vec::new()
        };
        self.depth -= 1;
        Ok(StatementKind::If(condition, then, otherwise))
    }

    /// `x = value`, `x : type = value`, `a, b, = value`, or a bare expression.
    fn assignment(&mut self) -> Parsed<StatementKind> {
        let first = self.tuple()?;
        if self.take(":") {
            self.expression()?;
        }
        if !self.take("=") {
            self.end_of_line()?;
            return Ok(StatementKind::Expression(first));
        }
        let value = self.tuple()?;
        self.end_of_line()?;
        match first.kind {
            ExpressionKind::Name(name) => Ok(StatementKind::Assign(name, value)),
            ExpressionKind::Tuple(targets) => {
                let span = first.span;
                let names = targets.into_iter().map(|target| match target.kind {
                    ExpressionKind::Name(name) => Ok(name),
                    _ => Err(SyntaxError {
                        span,
                        reason: "only names can be assigned to".into(),
                    }),
                });
                Ok(StatementKind::Unpack(names.collect::<Result<_, _>>()?, value))
            }
            ExpressionKind::Attribute(..) | ExpressionKind::Subscript(..) => {
                Ok(StatementKind::Refused("an assignment to an attribute"))
            }
            _ => Err(SyntaxError {
                span: first.span,
                reason: "only names can be assigned to".into(),
            }),
        }
    }

    /// `a` or `a, b` or `a, b,`.
    fn tuple(&mut self) -> Parsed<Expression> {
        let first = self.expression()?;
        if !self.at(",") {
            return Ok(first);
        }
        let span = first.span;
        let mut elements = vec![first];
        while self.take(",") {
            if self.at("=") || matches!(self.peek(), TokenKind::Newline | TokenKind::End) {
                break;
            }
            elements.push(self.expression()?);
        }
        Ok(Expression {
            kind: ExpressionKind::Tuple(elements),
            span,
        })
    }

    fn expression(&mut self) -> Parsed<Expression> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.fail("the expression is nested too deeply");
        }
        let value = self.binary(0)?;
        let value = if self.take_word("if") {
            let condition = self.binary(0)?;
            if !self.take_word("else") {
                return self.fail("`else` is expected here");
            }
            let otherwise = self.expression()?;
            let span = value.span;
            Expression {
                kind: ExpressionKind::Conditional(Box::new([condition, value, otherwise])),
                span,
            }
        } else {
            value
        };
        self.depth -= 1;
        Ok(value)
    }

    fn binary(&mut self, level: usize) -> Parsed<Expression> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        // `not` binds looser than comparisons and tighter than `and`.
        if level == 2 && self.at_word("not") {
            let span = self.span();
            self.position += 1;
            self.depth += 1;
            if self.depth > DEEPEST {
                return self.fail("the expression is nested too deeply");
            }
            let value = self.binary(2)?;
            self.depth -= 1;
            return Ok(Expression {
                kind: ExpressionKind::Unary("__not__", Box::new(value)),
                span,
            });
        }
        let mut left = self.binary(level + 1)?;
        let mut chain = 0;
        while let Some(mut function) = self.operator(operators) {
            if function == "__is__" && self.take_word("not") {
                function = "__isnot__";
            }
            // Chains build trees as deep as they are long.
            chain += 1;
            if chain > DEEPEST {
                return self.fail("the expression is too long");
            }
            let right = self.binary(level + 1)?;
            let span = left.span;
            left = Expression {
                kind: ExpressionKind::Binary(function, Box::new(left), Box::new(right)),
                span,
            };
        }
        Ok(left)
    }

    fn operator(&mut self, operators: &[(&str, &'static str)]) -> Option<&'static str> {
        let found = operators.iter().find(|(text, _)| match self.peek() {
            TokenKind::Symbol(symbol) => symbol == text,
            TokenKind::Name(word) => word == text,
            _ => false,
        });
        let (_, function) = found?;
        self.position += 1;
        Some(function)
    }

    fn unary(&mut self) -> Parsed<Expression> {
        let span = self.span();
        if self.take("-") {
            // The lowest integer has no positive counterpart, so the sign is read with the digits.
            if let TokenKind::Int(value) = *self.peek() {
                let Some(value) = 0i64.checked_sub_unsigned(value) else {
                    return self.fail("does not fit 64 bits");
                };
                self.position += 1;
                return Ok(Expression {
                    kind: ExpressionKind::Int(value),
                    span,
                });
            }
            self.depth += 1;
            if self.depth > DEEPEST {
                return self.fail("the expression is nested too deeply");
            }
            let value = self.unary()?;
            self.depth -= 1;
            let kind = match value.kind {
                ExpressionKind::Float(value) => ExpressionKind::Float(-value),
                ExpressionKind::Name(name) if name == "inf" => ExpressionKind::Float(f64::NEG_INFINITY),
                _ => ExpressionKind::Unary("neg", Box::new(value)),
            };
            return Ok(Expression { kind, span });
        }
        let base = self.postfix()?;
        if self.take("**") {
            self.depth += 1;
            if self.depth > DEEPEST {
                return self.fail("the expression is nested too deeply");
            }
            let exponent = self.unary()?;
            self.depth -= 1;
            return Ok(Expression {
                kind: ExpressionKind::Binary("pow", Box::new(base), Box::new(exponent)),
                span,
            });
        }
        Ok(base)
    }

    fn postfix(&mut self) -> Parsed<Expression> {
        let mut value = self.primary()?;
        let mut chain = 0;
        loop {
            let span = value.span;
            let kind = if self.take(".") {
                ExpressionKind::Attribute(Box::new(value), self.name()?)
            } else if self.take("(") {
                ExpressionKind::Call(Box::new(value), self.arguments(")")?)
            } else if self.take("[") {
                let arguments = self.arguments("]")?;
                let indices = arguments.into_iter().map(|argument| argument.value).collect();
                ExpressionKind::Subscript(Box::new(value), indices)
            } else {
                return Ok(value);
            };
            chain += 1;
            if chain > DEEPEST {
                return self.fail("the expression is too long");
            }
            value = Expression { kind, span };
        }
    }

    fn primary(&mut self) -> Parsed<Expression> {
        let span = self.span();
        let token = self.peek().clone();
        let kind = match token {
            TokenKind::Name(name) => {
                if KEYWORDS.contains(&name.as_str()) {
                    return self.fail(format!("`{name}` can't stand here"));
                }
                self.position += 1;
                match name.as_str() {
                    "None" => ExpressionKind::None,
                    "True" => ExpressionKind::Bool(true),
                    "False" => ExpressionKind::Bool(false),
                    "inf" => ExpressionKind::Float(f64::INFINITY),
                    "nan" => ExpressionKind::Float(f64::NAN),
                    _ => ExpressionKind::Name(name),
                }
            }
            TokenKind::Int(value) => {
                let Ok(value) = i64::try_from(value) else {
                    return self.fail("does not fit 64 bits");
                };
                self.position += 1;
                ExpressionKind::Int(value)
            }
            TokenKind::Float(value) => {
                self.position += 1;
                ExpressionKind::Float(value)
            }
            TokenKind::Str(value) => {
                self.position += 1;
                ExpressionKind::Str(value)
            }
            TokenKind::Symbol("(") => {
                self.position += 1;
                return self.parenthesised(span);
            }
            TokenKind::Symbol("[") => {
                self.position += 1;
                let elements = self.arguments("]")?;
                ExpressionKind::List(elements.into_iter().map(|element| element.value).collect())
            }
            TokenKind::Symbol("{") => {
                self.position += 1;
                let mut items = Vec::new();
                while !self.take("}") {
                    let key = self.expression()?;
                    self.expect(":")?;
                    items.push((key, self.expression()?));
                    if !self.take(",") {
                        self.expect("}")?;
                        break;
                    }
                }
                ExpressionKind::Dict(items)
            }
            _ => return self.fail("a value is expected here"),
        };
        Ok(Expression { kind, span })
    }

    /// After an opening parenthesis: a tuple, or what stands in parentheses.
    fn parenthesised(&mut self, span: Span) -> Parsed<Expression> {
        let mut elements = Vec::new();
        let mut tuple = false;
        while !self.take(")") {
            elements.push(self.expression()?);
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
            tuple = true;
        }
        match <[Expression; 1]>::try_from(elements) {
            Ok([only]) if !tuple => Ok(only),
            Ok([only]) => Ok(Expression {
                kind: ExpressionKind::Tuple(vec![only]),
                span,
            }),
            Err(elements) => Ok(Expression {
                kind: ExpressionKind::Tuple(elements),
                span,
            }),
        }
    }

    /// Arguments up to the closing bracket, a comma after the last allowed.
    fn arguments(&mut self, close: &str) -> Parsed<Vec<Argument>> {
        let mut arguments = Vec::new();
        while !self.take(close) {
            let value = self.expression()?;
            let argument = match value.kind {
                ExpressionKind::Name(name) if self.at("=") => {
                    self.position += 1;
                    Argument {
                        name: Some(name),
                        value: self.expression()?,
                    }
                }
                _ => Argument { name: None, value },
            };
            arguments.push(argument);
            if !self.take(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(arguments)
    }

    /// Skips a statement and the blocks that belong to it.
    fn skip_statement(&mut self) {
        loop {
            // The line itself.
            while !matches!(self.peek(), TokenKind::Newline | TokenKind::End) {
                self.position += 1;
            }
            if *self.peek() == TokenKind::Newline {
                self.position += 1;
            }
            if *self.peek() == TokenKind::Indent {
                let mut open = 0usize;
                loop {
                    match self.peek() {
                        TokenKind::Indent => open += 1,
                        TokenKind::Dedent => open -= 1,
                        TokenKind::End => return,
                        _ => {}
                    }
                    self.position += 1;
                    if open == 0 {
                        break;
                    }
                }
            }
            if !(self.at_word("else") || self.at_word("elif")) {
                return;
            }
        }
    }

    fn peek(&self) -> &TokenKind {
        // The last token is `End`, which nothing takes.
        &self.tokens[self.position.min(self.tokens.len() - 1)].kind
    }

    fn span(&self) -> Span {
        self.tokens[self.position.min(self.tokens.len() - 1)].span
    }

    fn at(&self, symbol: &str) -> bool {
        matches!(self.peek(), TokenKind::Symbol(found) if *found == symbol)
    }

    fn at_word(&self, word: &str) -> bool {
        matches!(self.peek(), TokenKind::Name(found) if found == word)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.at(symbol);
        self.position += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        self.position += usize::from(found);
        found
    }

    fn name(&mut self) -> Parsed<String> {
        match self.peek().clone() {
            TokenKind::Name(name) => {
                self.position += 1;
                Ok(name)
            }
            _ => self.fail("a name is expected here"),
        }
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.take(symbol) {
            return Ok(());
        }
        self.fail(format!("`{symbol}` is expected here"))
    }

    fn expect_kind(&mut self, kind: &TokenKind, what: &str) -> Parsed<()> {
        if self.peek() == kind {
            self.position += 1;
            return Ok(());
        }
        self.fail(format!("{what} is expected here"))
    }

    fn end_of_line(&mut self) -> Parsed<()> {
        match self.peek() {
            TokenKind::Newline => {
                self.position += 1;
                Ok(())
            }
            TokenKind::End | TokenKind::Dedent => Ok(()),
            _ => self.fail("the end of the line is expected here"),
        }
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Parsed<T> {
        Err(SyntaxError {
            span: self.span(),
            reason: reason.into(),
        })
    }
}
