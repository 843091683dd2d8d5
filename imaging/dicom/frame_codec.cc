#include "imaging/dicom/frame_codec.h"

#include "absl/strings/str_cat.h"
#include "dcmtk/config/osconfig.h"
#include "dcmtk/dcmdata/dcpixseq.h"
#include "dcmtk/dcmdata/dcpxitem.h"
#include "dcmtk/dcmdata/dcrlerp.h"
#include "dcmtk/dcmdata/dctk.h"
#include "dcmtk/dcmjpls/djrparam.h"
#include "imaging/dicom/attribute_writer.h"
#include "imaging/dicom/dcmtk_runtime.h"

namespace synthvol::imaging::dicom {
namespace {

absl::Status Failed(const OFCondition& condition) {
  return absl::InternalError(absl::StrCat("cannot compress a frame: ", condition.text()));
}

// Fills a dataset with just what the codecs look at.
absl::Status FillFrame(int64_t rows, int64_t columns, absl::Span<const int16_t> stored,
                       DcmDataset& dataset) {
  AttributeWriter to(dataset);
  to.Short(DCM_SamplesPerPixel, 1);
  to.Text(DCM_PhotometricInterpretation, "MONOCHROME2");
  to.Short(DCM_Rows, static_cast<uint16_t>(rows));
  to.Short(DCM_Columns, static_cast<uint16_t>(columns));
  to.Short(DCM_BitsAllocated, 16);
  to.Short(DCM_BitsStored, 16);
  to.Short(DCM_HighBit, 15);
  to.Short(DCM_PixelRepresentation, 1);
  const OFCondition put = dataset.putAndInsertUint16Array(
      DCM_PixelData, reinterpret_cast<const Uint16*>(stored.data()), stored.size());
  return put.bad() ? Failed(put) : to.status();
}

}  // namespace

bool IsEncapsulated(TransferSyntax syntax) {
  return syntax == TransferSyntax::kRleLossless || syntax == TransferSyntax::kJpegLsLossless;
}

absl::Status AppendCompressedFrame(TransferSyntax syntax, int64_t rows, int64_t columns,
                                   absl::Span<const int16_t> stored, std::string& out) {
  RegisterCodecs();
  const bool rle = syntax == TransferSyntax::kRleLossless;
  const E_TransferSyntax wanted = rle ? EXS_RLELossless : EXS_JPEGLSLossless;
  const DcmRLERepresentationParameter rle_parameter;
  const DJLSRepresentationParameter jpeg_ls_parameter(0, OFTrue);
  const DcmRepresentationParameter* parameter = &jpeg_ls_parameter;
  if (rle) parameter = &rle_parameter;

  DcmDataset dataset;
  if (absl::Status status = FillFrame(rows, columns, stored, dataset); !status.ok()) return status;
  OFCondition condition = dataset.chooseRepresentation(wanted, parameter);
  if (condition.bad()) return Failed(condition);
  DcmElement* element = nullptr;
  condition = dataset.findAndGetElement(DCM_PixelData, element);
  auto* pixels = dynamic_cast<DcmPixelData*>(element);
  if (condition.bad() || pixels == nullptr) return Failed(condition);
  DcmPixelSequence* sequence = nullptr;
  condition = pixels->getEncapsulatedRepresentation(wanted, parameter, sequence);
  // The offset table, then one fragment.
  DcmPixelItem* fragment = nullptr;
  if (condition.good()) condition = sequence->getItem(fragment, 1);
  Uint8* bytes = nullptr;
  if (condition.good()) condition = fragment->getUint8Array(bytes);
  if (condition.bad()) return Failed(condition);
  if (sequence->card() != 2) return absl::InternalError("a frame became several fragments");
  out.append(reinterpret_cast<const char*>(bytes), fragment->getLength());
  return absl::OkStatus();
}

}  // namespace synthvol::imaging::dicom
