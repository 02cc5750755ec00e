//! Opsets, deployment targets and specification versions, which rise together.

use std::fmt;
use std::str::FromStr;

/// The set of operations a function may use; `CoreML5` came with iOS 15.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // named after the opset string on disk
pub enum Opset {
    CoreMl5,
    CoreMl6,
    CoreMl7,
    CoreMl8,
    CoreMl9,
}

impl Opset {
    /// Every opset, oldest first.
    pub const ALL: [Opset; 5] = [
        Self::CoreMl5,
        Self::CoreMl6,
        Self::CoreMl7,
        Self::CoreMl8,
        Self::CoreMl9,
    ];

    /// The string a package carries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CoreMl5 => "CoreML5",
            Self::CoreMl6 => "CoreML6",
            Self::CoreMl7 => "CoreML7",
            Self::CoreMl8 => "CoreML8",
            Self::CoreMl9 => "CoreML9",
        }
    }

    /// `Model.specificationVersion` of the first Core ML release with this opset.
    pub const fn specification_version(self) -> i32 {
        match self {
            Self::CoreMl5 => 6,
            Self::CoreMl6 => 7,
            Self::CoreMl7 => 8,
            Self::CoreMl8 => 9,
            Self::CoreMl9 => 10,
        }
    }

    /// The deployment target that introduced this opset.
    pub const fn target(self) -> Target {
        match self {
            Self::CoreMl5 => Target::Ios15,
            Self::CoreMl6 => Target::Ios16,
            Self::CoreMl7 => Target::Ios17,
            Self::CoreMl8 => Target::Ios18,
            Self::CoreMl9 => Target::Ios26,
        }
    }
}

impl fmt::Display for Opset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Opset {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|opset| opset.name() == text).ok_or(())
    }
}

/// The oldest system a package is meant to run on (each stands for the macOS of the same year).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // named after the system
pub enum Target {
    Ios15,
    Ios16,
    Ios17,
    Ios18,
    Ios26,
}

impl Target {
    /// Every target, oldest first.
    pub const ALL: [Target; 5] = [Self::Ios15, Self::Ios16, Self::Ios17, Self::Ios18, Self::Ios26];

    /// The newest opset the target understands.
    pub const fn opset(self) -> Opset {
        match self {
            Self::Ios15 => Opset::CoreMl5,
            Self::Ios16 => Opset::CoreMl6,
            Self::Ios17 => Opset::CoreMl7,
            Self::Ios18 => Opset::CoreMl8,
            Self::Ios26 => Opset::CoreMl9,
        }
    }

    /// The spelling on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ios15 => "ios15",
            Self::Ios16 => "ios16",
            Self::Ios17 => "ios17",
            Self::Ios18 => "ios18",
            Self::Ios26 => "ios26",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|target| target.name() == text)
            .ok_or(())
    }
}
