// Answers images with the TorchScript export of a run of `ptapp vision`, without Python:
//
//     classify export/model.torchscript.pt IMAGE.pgm|IMAGE.ppm...
//
// prints a line for each image: its name, the number of its class, and the probabilities of all classes. The export takes
// the stored pixels, uint8 (N, C, H, W), and has normalisation and softmax inside, so nothing is computed here.

#include <torch/script.h>

#include <cstdint>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// The number that comes next in the head of a file, where a line may be a comment.
int next_number(std::istream& file, const std::string& name) {
  while (file >> std::ws && file.peek() == '#') file.ignore(1 << 20, '\n');
  int number = 0;
  if (!(file >> number) || number < 1) throw std::runtime_error(name + ": the head of the image is broken");
  return number;
}

// A binary PGM (grey, P5) or PPM (colour, P6) of 8 bits as a tensor, uint8 (1, C, H, W).
torch::Tensor read_image(const std::string& name) {
  std::ifstream file(name, std::ios::binary);
  if (!file) throw std::runtime_error(name + ": cannot be read");
  std::string kind(2, ' ');
  file.read(kind.data(), 2);
  if (kind != "P5" && kind != "P6") throw std::runtime_error(name + ": is no binary PGM or PPM; convert it to one");
  const std::int64_t channels = kind == "P5" ? 1 : 3;
  const std::int64_t width = next_number(file, name);
  const std::int64_t height = next_number(file, name);
  if (next_number(file, name) != 255) throw std::runtime_error(name + ": has not 8 bits a channel");
  file.get();  // the one blank before the pixels
  torch::Tensor pixels = torch::empty({height, width, channels}, torch::kUInt8);
  file.read(reinterpret_cast<char*>(pixels.data_ptr<std::uint8_t>()), pixels.numel());
  if (file.gcount() != pixels.numel()) throw std::runtime_error(name + ": ends before its last pixel");
  return pixels.permute({2, 0, 1}).unsqueeze(0).contiguous();
}

}  // namespace

int main(int count, char** words) {
  if (count < 3) {
    std::cerr << "usage: classify MODEL.torchscript.pt IMAGE.pgm|IMAGE.ppm...\n";
    return 2;
  }
  try {
    torch::jit::Module model = torch::jit::load(words[1]);
    model.eval();
    const c10::InferenceMode without_gradients;
    std::cout << std::setprecision(8);
    for (const std::string& name : std::vector<std::string>(words + 2, words + count)) {
      const torch::Tensor shares = model.forward({read_image(name)}).toTensor().to(torch::kDouble)[0].contiguous();
      std::cout << name << ' ' << shares.argmax().item<std::int64_t>();
      for (std::int64_t each = 0; each < shares.numel(); ++each) std::cout << ' ' << shares[each].item<double>();
      std::cout << '\n';
    }
  } catch (const c10::Error& error) {
    std::cerr << "classify: " << error.what_without_backtrace() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "classify: " << error.what() << '\n';
    return 2;
  }
}
