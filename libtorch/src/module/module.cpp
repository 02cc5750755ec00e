// What corer needs of TorchScript modules and tch does not offer: parameters under their names, scopes while a trace is
// made, argument names, results of any nesting. Every function gives null, or a message to be freed by
// `corer_message_free`; no exception leaves this file.

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/api/compilation_unit.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/serialization/import.h>

using at::Tensor;
using torch::jit::Module;

namespace {

char *message(const char *text) {
  char *copy = ::strdup(text);
  // Out of memory while saying what went wrong.
  if (copy == nullptr) std::abort();
  return copy;
}

template <typename Body> char *guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return message(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return message(error.what());
  } catch (...) {
    return message("an exception of unknown type");
  }
}

using Sink = void (*)(void *context, const char *name, Tensor *tensor);

void flatten(const std::string &name, const c10::IValue &value, Sink sink, void *context) {
  if (value.isTensor()) {
    sink(context, name.c_str(), new Tensor(value.toTensor()));
  } else if (value.isTuple()) {
    for (const auto &element : value.toTupleRef().elements()) flatten("", element, sink, context);
  } else if (value.isList()) {
    for (const c10::IValue &element : value.toListRef()) flatten("", element, sink, context);
  } else if (value.isGenericDict()) {
    for (const auto &item : value.toGenericDict()) {
      flatten(item.key().isString() ? item.key().toStringRef() : "", item.value(), sink, context);
    }
  } else if (!value.isNone()) {
    throw std::runtime_error("the module returns a " + value.tagKind() + ", which is no tensor");
  }
}

}  // namespace

extern "C" {

void corer_message_free(char *text) { std::free(text); }

char *corer_module_new(const char *class_name, Module **module) {
  return guarded([&] {
    auto unit = std::make_shared<torch::jit::CompilationUnit>();
    *module = new Module(c10::QualifiedName(class_name), unit);
  });
}

// Runs nothing yet; TorchScript's code is compiled.
char *corer_module_load(const char *path, Module **module) {
  return guarded([&] {
    // The module as it was traced: without fusions, and without runs that measure first.
    torch::jit::setGraphExecutorOptimize(false);
    auto loaded = std::make_unique<Module>(torch::jit::load(path, c10::Device(c10::kCPU)));
    loaded->eval();
    *module = loaded.release();
  });
}

void corer_module_free(Module *module) { delete module; }

// `path` is dotted: modules on the way are made where they are missing.
char *corer_module_add(Module *module, const char *path, const Tensor *tensor, bool is_parameter) {
  return guarded([&] {
    const std::string whole(path);
    Module current = *module;
    size_t start = 0;
    for (size_t dot = whole.find('.'); dot != std::string::npos; dot = whole.find('.', start)) {
      const std::string part = whole.substr(start, dot - start);
      if (!current.hasattr(part)) {
        auto unit = module->_ivalue()->compilation_unit();
        current.register_module(part, Module(c10::QualifiedName("__torch__.torch.nn.Module"), unit, true));
      }
      current = current.attr(part).toModule();
      start = dot + 1;
    }
    const std::string name = whole.substr(start);
    if (is_parameter) {
      current.register_parameter(name, *tensor, false);
    } else {
      current.register_buffer(name, *tensor);
    }
  });
}

// Records what `body` does with copies of `inputs`, which become its own, and gives the module a `forward` of it.
// `body` hands its results, which stay its own, to `add`; it returns false when it fails.
char *corer_module_trace(Module *module, const char *const *names, const Tensor *const *inputs, size_t count,
                         bool (*body)(void *context, Tensor **inputs, size_t count, void *results,
                                      void (*add)(void *results, const char *name, const Tensor *tensor)),
                         void *context) {
  return guarded([&] {
    torch::jit::Stack stack;
    std::vector<std::string> arguments;
    for (size_t index = 0; index < count; ++index) {
      stack.emplace_back(*inputs[index]);
      arguments.emplace_back(names[index]);
    }
    using Results = c10::Dict<std::string, Tensor>;
    auto traced = [&](torch::jit::Stack given) -> torch::jit::Stack {
      std::vector<Tensor *> owned;
      for (const auto &value : given) owned.push_back(new Tensor(value.toTensor()));
      Results results;
      const bool done = body(context, owned.data(), owned.size(), &results,
                             [](void *into, const char *name, const Tensor *tensor) {
                               static_cast<Results *>(into)->insert(name, *tensor);
                             });
      if (!done) throw std::runtime_error("the model could not be built");
      return {c10::IValue(results)};
    };
    auto no_name = [](const Tensor &) { return std::string(); };
    // Not strict: dictionaries may be returned.
    auto state = torch::jit::tracer::trace(stack, traced, no_name, false, false, module, arguments).first;
    const c10::QualifiedName method(*module->type()->name(), "forward");
    auto *function = module->_ivalue()->compilation_unit()->create_function(method, state->graph);
    module->type()->addMethod(function);
  });
}

// What is recorded until `corer_scope_leave` belongs to the submodule at this dotted path.
char *corer_scope_enter(const char *path) {
  return guarded([&] {
    torch::jit::tracer::getTracingState()->graph->push_scope(std::string("__module.") + path);
  });
}

char *corer_scope_leave() {
  return guarded([] { torch::jit::tracer::getTracingState()->graph->pop_scope(); });
}

char *corer_module_save(const Module *module, const char *path) {
  return guarded([&] { module->save(path); });
}

// Arguments of `forward` that must be given, each with its type.
char *corer_module_arguments(const Module *module,
                             void (*sink)(void *context, const char *name, const char *type), void *context) {
  return guarded([&] {
    const auto &schema = module->get_method("forward").function().getSchema();
    bool self = true;
    for (const auto &argument : schema.arguments()) {
      if (!self && !argument.default_value()) {
        sink(context, argument.name().c_str(), argument.type()->repr_str().c_str());
      }
      self = false;
    }
  });
}

// Runs `forward`. With `names`, the inputs are the items of a dictionary, its one argument.
char *corer_module_forward(Module *module, const Tensor *const *inputs, const char *const *names, size_t count,
                           Sink sink, void *context) {
  return guarded([&] {
    c10::InferenceMode guard;
    torch::jit::Stack stack;
    if (names == nullptr) {
      for (size_t index = 0; index < count; ++index) stack.emplace_back(*inputs[index]);
    } else {
      c10::Dict<std::string, Tensor> items;
      for (size_t index = 0; index < count; ++index) items.insert(names[index], *inputs[index]);
      stack.emplace_back(items);
    }
    flatten("", module->forward(std::move(stack)), sink, context);
  });
}

}  // extern "C"
