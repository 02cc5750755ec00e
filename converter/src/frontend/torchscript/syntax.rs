//! What TorchScript's code says, as a tree.

/// Where something starts in its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Span {
    /// Line, from 1.
    pub(super) line: u32,
    /// Column in characters, from 1.
    pub(super) column: u32,
}

/// One text: the classes and functions of one Python module.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Text {
    /// Classes.
    pub(super) classes: Vec<Class>,
    /// Functions outside classes.
    pub(super) functions: Vec<Function>,
}

/// A class; its fields' types say nothing the objects don't.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Class {
    /// Name.
    pub(super) name: String,
    /// Methods.
    pub(super) methods: Vec<Function>,
}

/// A method or function.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Function {
    /// Name.
    pub(super) name: String,
    /// Parameters; a method's first is the object.
    pub(super) parameters: Vec<Parameter>,
    /// Statements.
    pub(super) body: Vec<Statement>,
    /// Its `def`.
    pub(super) span: Span,
}

/// A parameter.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Parameter {
    /// Name.
    pub(super) name: String,
    /// Declared type.
    pub(super) ty: Option<Expression>,
    /// Value when left out.
    pub(super) default: Option<Expression>,
    /// Its name's place.
    pub(super) span: Span,
}

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Statement {
    /// What it does.
    pub(super) kind: StatementKind,
    /// Where it starts.
    pub(super) span: Span,
}

/// What a statement does.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum StatementKind {
    /// `name = value`.
    Assign(String, Expression),
    /// `a, b, = value`.
    Unpack(Vec<String>, Expression),
    /// `return value`.
    Return(Option<Expression>),
    /// A call whose result is dropped.
    Expression(Expression),
    /// `pass`.
    Pass,
    /// `if condition: … else: …`.
    If(Expression, Vec<Statement>, Vec<Statement>),
    /// Something no package can do, by its keyword: `for`, `while`, `raise`, an attribute assigned.
    Refused(&'static str),
}

/// An expression.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Expression {
    /// What it says.
    pub(super) kind: ExpressionKind,
    /// Where it starts.
    pub(super) span: Span,
}

/// What an expression says.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum ExpressionKind {
    /// A name.
    Name(String),
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Str(String),
    /// `(a, b)`.
    Tuple(Vec<Expression>),
    /// `[a, b]`.
    List(Vec<Expression>),
    /// `{a: b}`.
    Dict(Vec<(Expression, Expression)>),
    /// `a.name`.
    Attribute(Box<Expression>, String),
    /// `a[b, c]`.
    Subscript(Box<Expression>, Vec<Expression>),
    /// `f(a, name=b)`.
    Call(Box<Expression>, Vec<Argument>),
    /// An operator, by the ATen function it stands for: `neg`, `__not__`.
    Unary(&'static str, Box<Expression>),
    /// An operator, by the ATen function it stands for: `add`, `floordiv`.
    Binary(&'static str, Box<Expression>, Box<Expression>),
    /// `a if c else b`: condition, then, otherwise.
    Conditional(Box<[Expression; 3]>),
}

/// An argument of a call.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Argument {
    /// Keyword.
    pub(super) name: Option<String>,
    /// Value.
    pub(super) value: Expression,
}
