# Copyright 2026 The ssgpa authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Change captioning for Transformers: two images of one scene in, one sentence about what changed out."""

# The repository root is the package. Test runners also import the checkout under the name of its own folder; only the
# import as `ssgpa` may run what follows.
if __name__ == "ssgpa":
    from huggingface_hub import ModelCard
    from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor
    from transformers.pipelines import PIPELINE_REGISTRY

    # The systems beside SSGPA register themselves.
    from . import baselines, publishing_ssgpa, vlm
    from .configuration_ssgpa import SSGPAConfig
    from .modeling_ssgpa import SSGPAForConditionalGeneration, SSGPAModel, SSGPAPreTrainedModel
    from .pipeline_ssgpa import ChangeCaptioningPipeline
    from .processing_ssgpa import SSGPAProcessor

    __version__ = "0.1.0"

    def _default_card(model: SSGPAPreTrainedModel, repo_id: str, tags: list[str]) -> ModelCard:
        # Imported with the first upload: `import ssgpa` should not wait for it.
        from .hub.model_card import CardMetadata, render_card

        return render_card(repo_id, CardMetadata(tags=tags, num_parameters=model.num_parameters()), system=type(model))

    publishing_ssgpa.default_card = _default_card

    AutoConfig.register("ssgpa", SSGPAConfig, exist_ok=True)
    AutoModel.register(SSGPAConfig, SSGPAModel, exist_ok=True)
    AutoModelForImageTextToText.register(SSGPAConfig, SSGPAForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(SSGPAConfig, SSGPAProcessor, exist_ok=True)

    PIPELINE_REGISTRY.register_pipeline(
        "change-captioning",
        pipeline_class=ChangeCaptioningPipeline,
        pt_model=AutoModelForImageTextToText,
        type="multimodal",
    )

    __all__ = [
        "ChangeCaptioningPipeline",
        "SSGPAConfig",
        "SSGPAForConditionalGeneration",
        "SSGPAModel",
        "SSGPAPreTrainedModel",
        "SSGPAProcessor",
        "__version__",
        "baselines",
        "vlm",
    ]
